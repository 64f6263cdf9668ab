! SPDX-License-Identifier: Apache-2.0
! A host of one point whose state is scalars in derived types; coupled as docs/coupling_a_host.md says.
module land_point
   use, intrinsic :: iso_fortran_env, only: real64
   use coupler_plugin, only: coupler_t
   implicit none
   type :: forcing_t
      real :: tair = 281.15, qair = 0.005, swdown = 200
   end type forcing_t
   type :: vegetation_t
      integer :: kind = 1
      real :: lai = 0.5, height = 1
   end type vegetation_t
   type :: point_t
      type(coupler_t) :: coupler
      real :: lon = -88.37, lat = 40.01, dt = 1800
      type(forcing_t) :: forcing
      type(vegetation_t) :: vegetation
   end type point_t
contains
   include 'points.inc'
end module land_point

program points
   use land_point, only: point_t, couple
   implicit none
   type(point_t), target, save :: point
   integer :: istep

   call couple(point)
   do istep = 1, 2
      call point%coupler%step()
   end do
   call point%coupler%finalize()
   print '(a, f6.4)', 'lai=', point%vegetation%lai
   print '(a, i0)', 'kind=', kind(point%vegetation%lai)
   print '(a, l1)', 'neighbours=', point%vegetation%kind == 1 .and. point%vegetation%height > 0.9
end program points
