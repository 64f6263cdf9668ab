! SPDX-License-Identifier: Apache-2.0
!> A host that gives the corners of its cells, so that fluxes travel conservatively to an emulator's own grid and back.
program corners
   use, intrinsic :: iso_fortran_env, only: int64, real64
   use coupler_plugin, only: coupler_t
   use testing, only: new_coupler, report_error
   implicit none

   integer, parameter :: ni = 6, nj = 3
   type(coupler_t) :: coupler
   integer(int64) :: id(ni, nj)
   real(real64) :: lon(ni, nj), lat(ni, nj), corner_lon(4, ni, nj), corner_lat(4, ni, nj)
   real(real64), target :: pr(ni, nj), evspsbl(ni, nj)
   integer :: i, j, rc

   do j = 1, nj
      do i = 1, ni
         id(i, j) = i + (j - 1)*ni
         lon(i, j) = 30.0_real64*i - 15.0_real64
         lat(i, j) = 20.0_real64*j - 40.0_real64
         corner_lon(:, i, j) = lon(i, j) + [-15.0_real64, 15.0_real64, 15.0_real64, -15.0_real64]
         corner_lat(:, i, j) = lat(i, j) + [-10.0_real64, -10.0_real64, 10.0_real64, 10.0_real64]
      end do
   end do
   pr = real(id, real64)
   evspsbl = -1.0_real64

   call new_coupler(coupler)
   call coupler%set_cells(id, lon, lat, corner_lon=corner_lon(:3, :, :), corner_lat=corner_lat, rc=rc)
   call report_error('shapes', coupler, rc)
   call coupler%set_cells(id, lon, lat, corner_lon=corner_lon, corner_lat=corner_lat)
   call coupler%bind('pr', pr)
   call coupler%bind('evspsbl', evspsbl)
   call coupler%step()
   print '(a,*(z16.16,:," "))', 'answer=', evspsbl
   call coupler%finalize()
end program corners
