! SPDX-License-Identifier: Apache-2.0
! A host that keeps an array of derived types; coupled as docs/coupling_a_host.md says.
program many_points
   use, intrinsic :: iso_fortran_env, only: real64
   use coupler_plugin, only: coupler_t
   implicit none
   type :: forcing_t
      real :: tair = 0, swdown = 200
   end type forcing_t
   type :: point_t
      integer :: id = 0
      real :: lon = 10, lat = 50
      type(forcing_t) :: forcing
      real :: lai = -1
   end type point_t
   type(coupler_t) :: coupler
   type(point_t), target :: points(5)
   integer :: i

   points%id = [(i, i=1, 5)]
   points%forcing%tair = 280 + 0.1*points%id
   call couple()
   do i = 1, 2
      call coupler%step()
   end do
   call coupler%finalize()
   print '(a, l1)', 'many_points=', all(abs(points%lai - (0.01*(points%forcing%tair - 273.15) + 0.2)) < 1e-5)
contains
   include 'many_points.inc'
end program many_points
