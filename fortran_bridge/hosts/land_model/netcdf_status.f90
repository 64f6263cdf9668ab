! SPDX-License-Identifier: Apache-2.0
!> Turns a status of the NetCDF library into a sentence, so that no call goes unchecked.
module netcdf_status
   use netcdf, only: nf90_noerr, nf90_strerror
   use parallel, only: stop_all
   implicit none
   private
   public :: check

contains

   subroutine check(status, what)
      !! Stop the run where `status` is an error; `what` names the file and what was tried.
      integer, intent(in) :: status
      character(len=*), intent(in) :: what

      if (status /= nf90_noerr) call stop_all(what//': '//trim(nf90_strerror(status))//'.')
   end subroutine check
end module netcdf_status
